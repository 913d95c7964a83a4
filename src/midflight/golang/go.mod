module midflight.local/golang

go 1.22
