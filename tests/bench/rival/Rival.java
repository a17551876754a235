/* The jobs of `make bench-rival` as a Flink engineer writes them: DataStream with object reuse for the maps and the keyed window, SQL for JSON.
 * usage: maps|plus|json|window|first --rows N --input FILE --output DIRECTORY (text files for comparing; without it rows are dropped)
 *        kafka --brokers LIST --input TOPIC --output TOPIC --checkpoints DIRECTORY
 *
 * Rows are those of weir's datagen, by the same formulas: row g has ts = g / 100 ms and a key that is a function of g, and subtask s of p
 * makes the rows g with g % p = s. NumberSequenceSource gives each subtask a range of numbers x instead, so x is turned into g.
 */
import java.io.BufferedWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.connector.source.lib.NumberSequenceSource;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.RichSinkFunction;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.table.api.Table;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.Collector;

public class Rival {
    public static class Event implements java.io.Serializable {
        public long id, value, weight;
    }

    public static class Tick {
        public long key, ts;
    }

    public static class Count {
        public long key, end, n;

        @Override
        public String toString() {
            return key + "," + end + "," + n;
        }
    }

    /* weir's datagen: column_key(seed 0, column 0) and mix(), then the upper half scaled to the range. */
    static final long KEY = columnKey(0, 0);

    static long columnKey(long seed, long column) {
        long z = seed + (column + 1) * 0x9e3779b97f4a7c15L;
        z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
        z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
        return z ^ (z >>> 31);
    }

    static long key(long g, long range) {
        long x = KEY + g * 0xa0761d6478bd642fL, y = x ^ 0xe7037ed1a0b428dbL;
        long high = Math.multiplyHigh(x, y) + ((x >> 63) & y) + ((y >> 63) & x); // unsigned
        return (((x * y) ^ high) >>> 32) * range >>> 32;
    }

    static class Counter implements AggregateFunction<Tick, Long, Long> {
        @Override
        public Long createAccumulator() {
            return 0L;
        }

        @Override
        public Long add(Tick tick, Long n) {
            return n + 1;
        }

        @Override
        public Long getResult(Long n) {
            return n;
        }

        @Override
        public Long merge(Long a, Long b) {
            return a + b;
        }
    }

    static class WithEnd extends ProcessWindowFunction<Long, Count, Long, TimeWindow> {
        private transient Count count;

        @Override
        public void process(Long key, Context context, Iterable<Long> counts, Collector<Count> out) {
            if (count == null) {
                count = new Count();
            }
            count.key = key;
            count.end = context.window().getEnd();
            count.n = counts.iterator().next();
            out.collect(count);
        }
    }

    static class Lines<T> extends RichSinkFunction<T> {
        private final String directory;
        private transient BufferedWriter file;

        Lines(String directory) {
            this.directory = directory;
        }

        @Override
        public void open(OpenContext context) throws Exception {
            Files.createDirectories(Path.of(directory));
            file = Files.newBufferedWriter(
                    Path.of(directory, "part-" + getRuntimeContext().getTaskInfo().getIndexOfThisSubtask()));
        }

        @Override
        public void invoke(T value, Context context) throws Exception {
            file.write(value + "\n");
        }

        @Override
        public void close() throws Exception {
            if (file != null) {
                file.close();
            }
        }
    }

    /* Ten functions, each of its own, as in a real pipeline; with object reuse a function may give the same object again and again. */
    abstract static class Step implements MapFunction<Event, Event> {
        final Event out = new Event();
    }

    static class Step0 extends Step {
        @Override
        public Event map(Event in) {
            out.id = in.id;
            out.value = in.value * 3 + 1;
            out.weight = in.weight ^ in.value;
            return out;
        }
    }

    static class Step1 extends Step {
        @Override
        public Event map(Event in) {
            out.id = in.id;
            out.value = in.value * 5 + 2;
            out.weight = in.weight ^ in.value;
            return out;
        }
    }

    static class Step2 extends Step {
        @Override
        public Event map(Event in) {
            out.id = in.id;
            out.value = in.value * 7 + 3;
            out.weight = in.weight ^ in.value;
            return out;
        }
    }

    static class Step3 extends Step {
        @Override
        public Event map(Event in) {
            out.id = in.id;
            out.value = in.value * 9 + 4;
            out.weight = in.weight ^ in.value;
            return out;
        }
    }

    static class Step4 extends Step {
        @Override
        public Event map(Event in) {
            out.id = in.id;
            out.value = in.value * 11 + 5;
            out.weight = in.weight ^ in.value;
            return out;
        }
    }

    static class Step5 extends Step {
        @Override
        public Event map(Event in) {
            out.id = in.id;
            out.value = in.value * 13 + 6;
            out.weight = in.weight ^ in.value;
            return out;
        }
    }

    static class Step6 extends Step {
        @Override
        public Event map(Event in) {
            out.id = in.id;
            out.value = in.value * 15 + 7;
            out.weight = in.weight ^ in.value;
            return out;
        }
    }

    static class Step7 extends Step {
        @Override
        public Event map(Event in) {
            out.id = in.id;
            out.value = in.value * 17 + 8;
            out.weight = in.weight ^ in.value;
            return out;
        }
    }

    static class Step8 extends Step {
        @Override
        public Event map(Event in) {
            out.id = in.id;
            out.value = in.value * 19 + 9;
            out.weight = in.weight ^ in.value;
            return out;
        }
    }

    static class Step9 extends Step {
        @Override
        public Event map(Event in) {
            out.id = in.id;
            out.value = in.value * 21 + 10;
            out.weight = in.weight ^ in.value;
            return out;
        }
    }

    static void maps(StreamExecutionEnvironment env, long rows) {
        SingleOutputStreamOperator<Event> events = numbers(env, rows).map(x -> {
            Event event = new Event();
            event.id = event.value = event.weight = x;
            return event;
        }).returns(Event.class);
        Step[] steps = {new Step0(), new Step1(), new Step2(), new Step3(), new Step4(), new Step5(), new Step6(), new Step7(),
            new Step8(), new Step9()};
        for (Step step : steps) {
            events = events.map(step);
        }
        events.sinkTo(new DiscardingSink<>());
    }

    /* The simplest step there is, in place, which object reuse allows: Flink's best case. */
    static void plus(StreamExecutionEnvironment env, long rows) {
        SingleOutputStreamOperator<Event> events = numbers(env, rows).map(x -> {
            Event event = new Event();
            event.id = event.value = event.weight = x;
            return event;
        }).returns(Event.class);
        for (int i = 0; i < 10; i++) {
            events = events.map(event -> {
                event.value++;
                return event;
            }).returns(Event.class);
        }
        events.sinkTo(new DiscardingSink<>());
    }

    static DataStream<Long> numbers(StreamExecutionEnvironment env, long rows) {
        return env.fromSource(new NumberSequenceSource(0, rows - 1), WatermarkStrategy.noWatermarks(), "numbers");
    }

    static void window(StreamExecutionEnvironment env, long rows, String output) {
        long parts = env.getParallelism(), size = rows / parts;
        if (rows % parts != 0) {
            throw new IllegalArgumentException("--rows must be a multiple of the parallelism");
        }
        DataStream<Count> counts = numbers(env, rows)
                .map(x -> {
                    long g = x % size * parts + x / size;
                    Tick tick = new Tick();
                    tick.key = key(g, 100000);
                    tick.ts = g / 100;
                    return tick;
                }).returns(Tick.class)
                .assignTimestampsAndWatermarks(WatermarkStrategy.<Tick>forMonotonousTimestamps()
                        .withTimestampAssigner((tick, before) -> tick.ts))
                .keyBy(tick -> tick.key)
                .window(TumblingEventTimeWindows.of(Duration.ofSeconds(10)))
                .aggregate(new Counter(), new WithEnd());
        if (output == null) {
            counts.sinkTo(new DiscardingSink<>());
        } else {
            counts.addSink(new Lines<>(output));
        }
    }

    static void json(StreamExecutionEnvironment env, String input, String output) throws Exception {
        StreamTableEnvironment tables = StreamTableEnvironment.create(env);
        tables.getConfig().set("table.local-time-zone", "UTC");
        tables.executeSql("CREATE TABLE readings (device_id STRING, temperature DOUBLE, is_abnormal BOOLEAN, "
                + "`timestamp` TIMESTAMP_LTZ(3), WATERMARK FOR `timestamp` AS `timestamp` - INTERVAL '2' SECOND) WITH "
                + "('connector' = 'filesystem', 'path' = 'file://" + input + "', 'format' = 'json', "
                + "'json.timestamp-format.standard' = 'ISO-8601')");
        String query = "SELECT device_id, window_end, COUNT(*) AS n, AVG(temperature) AS mean, MAX(temperature) AS high "
                + "FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(`timestamp`), INTERVAL '1' MINUTE)) "
                + "WHERE temperature > 30 GROUP BY device_id, window_start, window_end";
        if (output == null) {
            tables.executeSql("CREATE TABLE nowhere (device_id STRING, window_end TIMESTAMP(3), n BIGINT, mean DOUBLE, "
                    + "high DOUBLE) WITH ('connector' = 'blackhole')");
            tables.executeSql("INSERT INTO nowhere " + query);
            return;
        }
        Table result = tables.sqlQuery(query);
        DataStream<Row> rows = tables.toDataStream(result);
        rows.map(row -> row.getField(0) + "," + ((java.time.LocalDateTime) row.getField(1))
                .toInstant(java.time.ZoneOffset.UTC).toEpochMilli() + "," + row.getField(2) + "," + row.getField(3) + ","
                + row.getField(4)).returns(String.class).addSink(new Lines<>(output));
        env.execute("json");
    }

    static void kafka(StreamExecutionEnvironment env, Map<String, String> given) throws Exception {
        env.enableCheckpointing(1000);
        env.getCheckpointConfig().setCheckpointStorage("file://" + given.get("--checkpoints"));
        StreamTableEnvironment tables = StreamTableEnvironment.create(env);
        tables.getConfig().set("table.local-time-zone", "UTC");
        String kafka = "'connector' = 'kafka', 'properties.bootstrap.servers' = '" + given.get("--brokers") + "', 'format' = 'json', "
                + "'json.timestamp-format.standard' = 'ISO-8601', 'topic' = '";
        tables.executeSql("CREATE TABLE readings (device_id STRING, temperature DOUBLE, is_abnormal BOOLEAN, "
                + "`timestamp` TIMESTAMP_LTZ(3), WATERMARK FOR `timestamp` AS `timestamp` - INTERVAL '2' SECOND) WITH (" + kafka
                + given.get("--input") + "', 'properties.group.id' = 'rival', 'properties.isolation.level' = 'read_committed', "
                + "'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset')");
        tables.executeSql("CREATE TABLE results (device_id STRING, window_end TIMESTAMP(3), n BIGINT, mean DOUBLE, high DOUBLE) WITH ("
                + kafka + given.get("--output") + "', 'sink.delivery-guarantee' = 'exactly-once', "
                + "'sink.transactional-id-prefix' = 'rival', 'properties.transaction.timeout.ms' = '600000', "
                + "'properties.compression.type' = 'lz4')");
        tables.executeSql("INSERT INTO results SELECT device_id, window_end, COUNT(*) AS n, AVG(temperature) AS mean, MAX(temperature) AS high "
                + "FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(`timestamp`), INTERVAL '10' SECOND)) "
                + "WHERE temperature > 30 AND NOT is_abnormal GROUP BY device_id, window_start, window_end");
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> given = new HashMap<>();
        for (int i = 1; i + 1 < arguments.length; i += 2) {
            given.put(arguments[i], arguments[i + 1]);
        }
        StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment();
        env.getConfig().enableObjectReuse();
        long rows = Long.parseLong(given.getOrDefault("--rows", "0"));
        switch (arguments[0]) {
        case "maps":
            maps(env, rows);
            break;
        case "plus":
            plus(env, rows);
            break;
        case "window":
            window(env, rows, given.get("--output"));
            break;
        case "json":
            json(env, given.get("--input"), given.get("--output"));
            return;
        case "kafka":
            kafka(env, given);
            return;
        default:
            numbers(env, 1).print();
        }
        env.execute(arguments[0]);
    }
}
