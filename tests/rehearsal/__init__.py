"""Stand-ins for X and Grafana, good enough for people, for the tests and for Kubernetes."""
