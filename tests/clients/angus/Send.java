// Angus Mail, the reference implementation of Jakarta Mail (JavaMail).

import jakarta.mail.Message;
import jakarta.mail.Session;
import jakarta.mail.Transport;
import jakarta.mail.internet.InternetAddress;
import jakarta.mail.internet.MimeMessage;
import java.io.FileInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Date;
import java.util.Map;
import java.util.Properties;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public final class Send {
    public static void main(String[] arguments) throws Exception {
        Map<String, String> env = System.getenv();
        boolean implicit = env.get("SMTP_SECURITY").equals("implicit");
        String protocol = implicit ? "smtps" : "smtp";
        String prefix = "mail." + protocol + ".";
        Properties properties = new Properties();
        properties.put("mail.transport.protocol", protocol);
        properties.put(prefix + "host", env.get("SMTP_HOST"));
        properties.put(prefix + "port", env.get("SMTP_PORT"));
        properties.put(prefix + "auth", "true");
        properties.put(prefix + "connectiontimeout", "30000");
        properties.put(prefix + "timeout", "30000");
        properties.put(prefix + "ssl.checkserveridentity", "true");
        properties.put(prefix + "ssl.socketFactory", trusting(env.get("SMTP_CA")).getSocketFactory());
        String mechanism = env.getOrDefault("SMTP_MECHANISM", "");
        if (!mechanism.isEmpty()) {
            properties.put(prefix + "auth.mechanisms", mechanism);
        }
        if (!implicit) {
            properties.put(prefix + "starttls.required", "true");
        }
        Session session = Session.getInstance(properties);
        MimeMessage message = new MimeMessage(session);
        message.setFrom(new InternetAddress(env.get("MAIL_FROM")));
        message.setRecipient(Message.RecipientType.TO, new InternetAddress(env.get("MAIL_TO")));
        message.setSubject(env.get("MAIL_SUBJECT"), "utf-8");
        message.setSentDate(new Date());
        message.setText(Files.readString(Path.of(env.get("MAIL_TEXT"))), "utf-8");
        message.saveChanges();
        try (Transport transport = session.getTransport()) {
            transport.connect(env.get("SMTP_USERNAME"), env.get("SMTP_PASSWORD"));
            transport.sendMessage(message, message.getAllRecipients());
        }
    }

    private static SSLContext trusting(String authority) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream file = new FileInputStream(authority)) {
            store.setCertificateEntry("relay", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }
}
