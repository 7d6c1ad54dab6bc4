"""Local servers that behave like the real upstreams, limits and faults included.

Ships with the product, carries the demo and most tests, and imports nothing from the rest of it. The parts are in
`world` (what is true), `server` (in this process), `process` (in a child), `runner` (the body of `simulate`).
"""
