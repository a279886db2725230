"""Papers whose systems are built and measured here, one package each."""
