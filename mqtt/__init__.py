"""MQTT: the device's link to the machines that ask it for pictures and to the cloud that watches it."""
