"""Train, evaluate and explain the models. Nothing on the line imports this."""
