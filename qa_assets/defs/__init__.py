"""Everything Dagster sees: assets, checks, resources, the sensor and jobs. No work is done here."""
