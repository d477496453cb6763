"""The doors of the ATLAS API: one package a port."""
