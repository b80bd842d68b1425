"""Who does a batch: threads or processes of this host, or a Dask cluster; and what each does."""
