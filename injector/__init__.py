"""What runs inside an enrolled pod: key, CSR, certificate, nginx.conf, renewal."""
