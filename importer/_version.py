"""The version of the package, which the record of every import holds."""

__version__ = "0.1.0"
