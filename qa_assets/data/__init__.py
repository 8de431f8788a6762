"""From a source of data to Parquet splits: files, splits by group, content hash, leakage."""
