"""The commands of an operator, by what they are about. Each opens the authority itself, beside a running cloud."""
