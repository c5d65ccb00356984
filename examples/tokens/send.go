package main

import (
	"crypto/tls"
	"crypto/x509"
	"log"
	"net/smtp"
	"os"
	"strings"
)

const message = "From: orders@shop.example\r\nTo: ada@reader.example\r\n" +
	"Subject: Your order\r\n\r\nIt is on its way.\r\n"

func main() {
	host := os.Getenv("SMTP_HOST")
	authority, err := os.ReadFile(os.Getenv("SMTP_CA"))
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	// Read anew for each connection: the kubelet renews the file.
	token, err := os.ReadFile(os.Getenv("SMTP_TOKEN"))
	check(err)

	relay, err := smtp.Dial(host + ":" + os.Getenv("SMTP_PORT"))
	check(err)
	check(relay.StartTLS(&tls.Config{ServerName: host, RootCAs: roots}))
	check(relay.Auth(smtp.PlainAuth("", "token", strings.TrimSpace(string(token)), host)))
	check(relay.Mail("orders@shop.example"))
	check(relay.Rcpt("ada@reader.example"))
	data, err := relay.Data()
	check(err)
	_, err = data.Write([]byte(message))
	check(err)
	check(data.Close()) // the relay's answer: the message is durable
	check(relay.Quit())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
