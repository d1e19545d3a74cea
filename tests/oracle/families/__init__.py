"""Cases of further families of models, a file each."""
