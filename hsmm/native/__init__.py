"""The C++ sources, and the library they are compiled to at installation."""
