"""The pages and the REST interface: HTTP in, services, HTML or JSON out."""
