"""From upstream files to Parquet shards of one record schema."""
