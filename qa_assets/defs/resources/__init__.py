"""Resources that assets are given with a life of their own: Spark sessions."""
