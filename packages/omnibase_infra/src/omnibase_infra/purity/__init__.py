"""Whether the functions of compute nodes are pure: read before (`static`), and watched while they run (`guard`)."""
