"""From a key to a certificate that the pod has checked."""
