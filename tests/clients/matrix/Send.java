import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;

/**
 * Uploads the set with Java's HttpClient, which has no multipart of its own: this writes one as the
 * HTML standard says. Arguments: the version of HTTP, "default" or "1.1", then addresses. Standard
 * input: a line for each part, of its name, its filename and its bytes, each in base64 behind a dot;
 * a field has "-" for a filename. Prints status and text for each address, the text in base64; the
 * status is 0 where no answer came.
 */
public class Send {
    static final String BOUNDARY = "--------boundary-of-java";

    static byte[] decoded(String field) {
        return Base64.getDecoder().decode(field.substring(1));
    }

    static String quoted(String field) {
        String name = new String(decoded(field), StandardCharsets.UTF_8);
        name = name.replace("\"", "%22").replace("\r", "%0D").replace("\n", "%0A");
        return "\"" + name + "\"";
    }

    static byte[] body() throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] fields = line.split(" ");
            String head = "--" + BOUNDARY + "\r\nContent-Disposition: form-data; name=";
            head += quoted(fields[0]);
            if (!fields[1].equals("-")) {
                head += "; filename=" + quoted(fields[1]);
                head += "\r\nContent-Type: application/octet-stream";
            }
            out.write((head + "\r\n\r\n").getBytes(StandardCharsets.UTF_8));
            out.write(decoded(fields[2]));
            out.write("\r\n".getBytes());
        }
        out.write(("--" + BOUNDARY + "--\r\n").getBytes());
        return out.toByteArray();
    }

    public static void main(String[] args) throws Exception {
        byte[] body = body();
        for (int i = 1; i < args.length; i++) {
            // A client for each: what a server has made of one body is no matter of the next.
            HttpClient.Builder client = HttpClient.newBuilder();
            if (args[0].equals("1.1")) {
                client.version(HttpClient.Version.HTTP_1_1);
            }
            HttpRequest request = HttpRequest.newBuilder(URI.create(args[i]))
                .timeout(Duration.ofSeconds(60))
                .header("Content-Type", "multipart/form-data; boundary=" + BOUNDARY)
                .POST(HttpRequest.BodyPublishers.ofByteArray(body))
                .build();
            int status = 0;
            String text;
            try {
                HttpResponse<String> answer =
                    client.build().send(request, HttpResponse.BodyHandlers.ofString());
                status = answer.statusCode();
                text = answer.body();
            } catch (IOException error) {
                text = error.toString();
            }
            byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
            System.out.println(status + " ." + Base64.getEncoder().encodeToString(bytes));
        }
        System.exit(0);
    }
}
