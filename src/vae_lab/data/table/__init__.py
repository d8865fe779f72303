"""Tables: CSV, Parquet, Feather and Arrow."""
