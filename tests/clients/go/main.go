// Go's standard library.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/smtp"
	"os"
	"strings"
	"time"
)

func main() {
	if err := send(os.Getenv); err != nil {
		log.Fatal(err)
	}
}

func send(env func(string) string) error {
	authority, err := os.ReadFile(env("SMTP_CA"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return errors.New("SMTP_CA has no certificate")
	}
	text, err := os.ReadFile(env("MAIL_TEXT"))
	if err != nil {
		return err
	}
	host := env("SMTP_HOST")
	settings := &tls.Config{ServerName: host, RootCAs: roots}
	client, err := dial(net.JoinHostPort(host, env("SMTP_PORT")), settings, env("SMTP_SECURITY"))
	if err != nil {
		return err
	}
	defer client.Close()
	auth := smtp.PlainAuth("", env("SMTP_USERNAME"), env("SMTP_PASSWORD"), host)
	if err := client.Auth(auth); err != nil {
		return err
	}
	if err := client.Mail(env("MAIL_FROM")); err != nil {
		return err
	}
	if err := client.Rcpt(env("MAIL_TO")); err != nil {
		return err
	}
	data, err := client.Data()
	if err != nil {
		return err
	}
	fmt.Fprintf(data, "From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\n",
		env("MAIL_FROM"), env("MAIL_TO"), mime.QEncoding.Encode("utf-8", env("MAIL_SUBJECT")),
		time.Now().Format(time.RFC1123Z))
	fmt.Fprint(data, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n")
	body := quotedprintable.NewWriter(data)
	if _, err := body.Write([]byte(strings.ReplaceAll(string(text), "\n", "\r\n"))); err != nil {
		return err
	}
	if err := errors.Join(body.Close(), data.Close()); err != nil {
		return err
	}
	return client.Quit()
}

func dial(address string, settings *tls.Config, security string) (*smtp.Client, error) {
	if security == "implicit" {
		connection, err := tls.Dial("tcp", address, settings)
		if err != nil {
			return nil, err
		}
		return smtp.NewClient(connection, settings.ServerName)
	}
	client, err := smtp.Dial(address)
	if err != nil {
		return nil, err
	}
	return client, client.StartTLS(settings)
}
