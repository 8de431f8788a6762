"""The search for hyperparameters on Ray; a single training without Ray is in `trainer`."""
