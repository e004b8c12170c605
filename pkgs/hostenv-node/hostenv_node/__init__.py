"""What runs on a node: the switch, the activation of deploy intents and the environments' runtime."""
