"""The asset checks, a file a stage. Each reads the newest artefact from disk."""
