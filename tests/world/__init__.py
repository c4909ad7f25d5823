"""A world to rehearse in: stand-ins for X and Grafana, good enough for people, for the tests and for Kubernetes."""
