"""The in-house certificate authority: attests the pod, decides its names, signs."""
