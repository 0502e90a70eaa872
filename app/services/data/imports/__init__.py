"""Files from elsewhere on their way in: `registry` lists the formats, `importing` reads a file in one."""
