#!/usr/bin/env bash
# A real run's report.html in headless Chromium, from disk: quiet, whole and without network.
# Nothing on the console, nothing asked for, all of it there with scripts off, no sideways scrolling; and pictures of
# it to look at, light, dark, on a telephone and printed, in target/real/20-browser/.
#
# needs: python3; Debian's chromium (apt: 350 MB where it is missing)
# costs: 30 s; three model servers on loopback at 500 requests/s, then one browser
. tests/real/lib.sh

need_program python3 python3
need_program chromium chromium

say "a pod-kill run of 14 s"
status=0
"$RESBENCH" run scenarios/pod-kill.toml --quiet --reports "$WORK/reports" \
    --set phase.warm-up.duration=1s --set phase.baseline.duration=4s \
    --set phase.fault.duration=5s --set phase.recovery.duration=4s >"$WORK/out.txt" || status=$?
case $status in
0 | 1 | 3) say "exit code $status" ;;
*) cat "$WORK/out.txt"; fail "exit code $status: the run itself did not work" ;;
esac
RUN=$(run_dir "$WORK/reports")
python3 tests/python/check_browser.py "$RUN" chromium "$WORK"

# The check itself: a page with each of these ills must not pass. Port 9 of loopback answers nobody.
mkdir "$WORK/ill"
cp "$RUN/run.json" "$WORK/ill"
python3 - "$RUN/report.html" "$WORK/ill/report.html" <<'END'
import re, sys
page = open(sys.argv[1], encoding="utf-8").read()
page = re.sub(r'<meta[^>]*Content-Security-Policy[^>]*>', "", page, flags=re.I)
ills = '<img src="http://127.0.0.1:9/x.png"><div style="width:3000px">wide</div><script>console.error("ill-console"); nothing()</script>'
open(sys.argv[2], "w", encoding="utf-8").write(page.replace("</body>", ills + "</body>").replace('role="img"', ""))
END
if python3 tests/python/check_browser.py "$WORK/ill" chromium "$WORK/ill" >"$WORK/ill/out.txt" 2>&1; then
    fail "a page that asks for things, complains and scrolls sideways was let through"
fi
for word in ill-console 'nothing is not defined' 'asked for http://127.0.0.1:9/x.png' sideways 'role="img"'; do
    grep -q "$word" "$WORK/ill/out.txt" || { cat "$WORK/ill/out.txt"; fail "the check did not find the ill \`$word\`"; }
done
ok "an ill page is found out"
