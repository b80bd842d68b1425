"""What the tests share: run directories made to measure, the command line, stores, real services."""
