"""The embedded warehouse of the stages' tests, for tests of leaderboards."""

from tests.stages.conftest import config, real_data, server_dir, warehouse

__all__ = ["config", "real_data", "server_dir", "warehouse"]
