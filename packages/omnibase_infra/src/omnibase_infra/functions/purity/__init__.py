"""Whether the functions of compute nodes are pure: read before (`reader`), and watched while they run (`guard`)."""
