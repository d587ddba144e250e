module podtls.io/bench/floor

go 1.21
