module github.com/podfqdn/podfqdn

go 1.26
