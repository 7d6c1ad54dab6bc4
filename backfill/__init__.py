"""Fill a ClickHouse warehouse with Polymarket's trading history, and prove it whole."""

__version__ = "0.1.0"
