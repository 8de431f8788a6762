"""What all other packages build on: the interface of a task, artefacts, files."""
