import jakarta.mail.Message;
import jakarta.mail.Session;
import jakarta.mail.Transport;
import jakarta.mail.internet.InternetAddress;
import jakarta.mail.internet.MimeMessage;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;

/** Run with -Djavax.net.ssl.trustStore=FILE, made by keytool -importcert from the relay's CA. */
public class Send {
    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.put("mail.smtp.host", System.getenv("SMTP_HOST"));
        properties.put("mail.smtp.port", System.getenv("SMTP_PORT"));
        properties.put("mail.smtp.auth", "true");
        properties.put("mail.smtp.auth.mechanisms", "XOAUTH2");
        properties.put("mail.smtp.starttls.required", "true");
        properties.put("mail.smtp.ssl.checkserveridentity", "true");
        Session session = Session.getInstance(properties);

        MimeMessage message = new MimeMessage(session);
        message.setFrom(new InternetAddress("orders@shop.example"));
        message.setRecipient(Message.RecipientType.TO, new InternetAddress("ada@reader.example"));
        message.setSubject("Your order");
        message.setText("It is on its way.\n");
        message.saveChanges();

        try (Transport relay = session.getTransport("smtp")) {
            // Read anew for each connection: the kubelet renews the file.
            relay.connect("token", Files.readString(Path.of(System.getenv("SMTP_TOKEN"))).trim());
            relay.sendMessage(message, message.getAllRecipients());
        }
    }
}
