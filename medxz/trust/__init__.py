"""Trust: access tokens, and certificates of a CA of one's own. No IO but what a certificate file needs."""
