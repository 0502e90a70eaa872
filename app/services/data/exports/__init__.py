"""Dataset versions on their way out: `registry` lists the schemas that there are, `formats` what their rows are
written as."""
