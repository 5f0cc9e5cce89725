-- wrk says 50, 75, 90 and 99 % by itself.
done = function(_, latency, _)
  io.write(string.format("99.9%% %.2fus\n", latency:percentile(99.9)))
end
