import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

import org.apache.kafka.common.utils.Exit;

/**
 * Runs the main classes of Apache Kafka's command line tools one after the other in one process, as `kafka-*.sh` would.
 *
 * Each line of the input is a run: the class, what its input is, and its arguments, separated by tabs; `\n` in the input stands
 * for the end of a line. What it wrote is told line by line behind `=` (its output) and `!` (its errors), then `exit` and its
 * status. The tools leave through Kafka's own `Exit`, which is told to end the run instead of the process: what a tool does once
 * it has left, such as to catch that, is not seen. What it wants done at the end of its process is done at the end of the run.
 */
public final class Tools {
    /** Ends a run from within. */
    private static final class Left extends RuntimeException {
        Left() {
            super(null, null, false, false);
        }
    }

    private static final List<Runnable> HOOKS = new ArrayList<>();
    private static Integer status;

    public static void main(String[] unused) throws Exception {
        PrintStream answers = System.out;
        Exit.setExitProcedure(Tools::leave);
        Exit.setHaltProcedure(Tools::leave);
        Exit.setShutdownHookAdder((name, hook) -> HOOKS.add(hook));
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = requests.readLine()) != null;) {
            String[] fields = line.split("\t", -1);
            ByteArrayOutputStream output = new ByteArrayOutputStream();
            ByteArrayOutputStream failures = new ByteArrayOutputStream();
            System.setIn(new ByteArrayInputStream(fields[1].replace("\\n", "\n").getBytes(StandardCharsets.UTF_8)));
            write(output, failures);
            status = null;
            HOOKS.clear();
            run(fields[0], Arrays.copyOfRange(fields, 2, fields.length));
            write(output, failures);
            HOOKS.forEach(Runnable::run);
            write(OutputStream.nullOutputStream(), OutputStream.nullOutputStream());
            tell(answers, '=', output);
            tell(answers, '!', failures);
            answers.println("exit " + status);
            answers.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    /** Where the tool writes to from here on. */
    private static void write(OutputStream output, OutputStream failures) {
        System.setOut(new PrintStream(output, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(failures, true, StandardCharsets.UTF_8));
    }

    private static void leave(int with, String message) {
        if (status == null) {
            status = with;
            if (message != null) {
                System.err.println(message);
            }
            write(OutputStream.nullOutputStream(), OutputStream.nullOutputStream());
        }
        throw new Left();
    }

    private static void run(String name, String[] arguments) {
        int end = 0;
        try {
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) arguments);
        } catch (InvocationTargetException thrown) {
            if (!(thrown.getCause() instanceof Left)) {
                thrown.getCause().printStackTrace();
                end = 1;
            }
        } catch (ReflectiveOperationException missing) {
            missing.printStackTrace();
            end = 127;
        }
        if (status == null) {
            status = end;
        }
    }

    private static void tell(PrintStream answers, char mark, ByteArrayOutputStream written) {
        written.toString(StandardCharsets.UTF_8).lines().forEach(line -> answers.println(mark + line));
    }
}
