"""The ground the services stand on: settings, the bus, leases, telemetry, logs and the life of a service."""
