"""What every other package builds on: the interface of a task, artefacts, files."""
