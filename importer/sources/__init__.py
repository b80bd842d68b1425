"""Where run directories may lie: on this host, in a bucket, in an archive."""
