import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/**
 * Java's HttpClient. Arguments: the size of the uploaded file, then addresses. Each is asked as the
 * client does by default, and with HTTP/1.1 asked for; a line of four fields tells what came.
 */
public class Upload {
    public static void main(String[] args) throws Exception {
        String disposition = "Content-Disposition: form-data; name=\"f\"; filename=\"x\"";
        byte[] start = ("--boundary\r\n" + disposition + "\r\n\r\n").getBytes();
        byte[] end = "\r\n--boundary--\r\n".getBytes();
        byte[] body = new byte[start.length + Integer.parseInt(args[0]) + end.length];
        System.arraycopy(start, 0, body, 0, start.length);
        System.arraycopy(end, 0, body, body.length - end.length, end.length);
        for (int i = 1; i < args.length; i++) {
            for (String version : new String[] {"default", "1.1"}) {
                HttpClient.Builder client = HttpClient.newBuilder();
                if (version.equals("1.1")) {
                    client.version(HttpClient.Version.HTTP_1_1);
                }
                HttpRequest request = HttpRequest.newBuilder(URI.create(args[i]))
                    .timeout(Duration.ofSeconds(20))
                    .header("Content-Type", "multipart/form-data; boundary=boundary")
                    .POST(HttpRequest.BodyPublishers.ofByteArray(body))
                    .build();
                String told;
                try {
                    HttpResponse<String> answer =
                        client.build().send(request, HttpResponse.BodyHandlers.ofString());
                    told = answer.statusCode() + "\t" + answer.body().replaceAll("\\s+", " ");
                } catch (java.io.IOException error) {
                    told = "0\t" + error;
                }
                System.out.println(URI.create(args[i]).getPath() + "\t" + version + "\t" + told);
            }
        }
        System.exit(0);
    }
}
