"""Real services for the tests: an MLflow server, PostgreSQL, an S3 endpoint, and a proxy that makes faults.

Each listens on a free loopback port and is a context manager. None of their processes outlives the tests, not even
killed ones; their directories are removed unless the tests themselves are killed.
"""
