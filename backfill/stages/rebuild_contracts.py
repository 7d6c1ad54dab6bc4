"""Addresses that are not anybody's wallet: what they do with shares, they do for somebody whom another record names."""

from __future__ import annotations

from typing import Final

from backfill.tracks import chain_abi

ZERO: Final = f"0x{'0' * 40}"
"""Where shares come from when they are minted, and go to when they are burned."""

_OTHERS: Final = (
    "0xe2222d002000ba0053cef3375333610f64600036",  # neg-risk exchange V2, named by one SDK
    "0xe3333700ca9d93003f00f0f71f8515005f6c00aa",  # exchange V3
    "0x71523d0f655b41e805cec45b17163f528b59b820",  # neg-risk operator
    "0x7f67327e88c258932d7d8f72950be0d46975e11d",  # neg-risk vault
    "0xe3f18acc55091e2c48d883fc8c8413319d4ab7b0",  # fee modules of V1
    "0xb768891e3130f6df18214ac804d4db76c2c37730",
    "0x78769d50be1763ed1ca0d5e878d93f05aabff29e",
    "0xada100db00ca00073811820692005400218fce1f",  # collateral adapters, now and before
    "0xada2005600dec949baf300f4c6120000bdb6eaab",
    "0xada100874d00e3331d00f2007a9c336a65009718",
    "0xada200001000ef00d07553cee7006808f895c6f1",
    "0xa1200000d0002264c9a1698e001292d00e1b00af",  # auto redeemer
    "0x006f54f7f9a22e0000cc2ab60031000000ae9fef",  # position manager and router of protocol V2, and its modules
    "0x12121212006e4cd160d18e3f00711da5c3372600",
    "0x1000008dd9001b968442c1000017eae6e0da00ba",
    "0x200000900045e3b6259600682756002200028933",
    "0x30000034706c7d8e12009dab006be20000c031a8",
    "0xd216153c06e857cd7f72665e0af1d7d82172f494",  # relay hub
    "0x8b9805a2f595b6705e74f7310829f2d299d21522",  # maker of the old market makers
)

CONTRACTS: Final = tuple(
    sorted(
        {
            ZERO,
            chain_abi.CTF.address,
            chain_abi.ADAPTER.address,
            *(each.address for each in chain_abi.EXCHANGES),
            *chain_abi.COLLATERALS,
            *_OTHERS,
        }
    )
)
"""All of them, 0x and lower case."""
