"""The style sheet of a report. Light, one column, readable on paper and on a telephone."""

STYLE = """
:root{color-scheme:light;--ink:#24292f;--soft:#57606a;--line:#d8dde3;--accent:#1f5fa8}
*{box-sizing:border-box}
body{margin:0;background:#f6f7f9;color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1240px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:1.6rem;margin:0}h2{font-size:1.05rem;margin:0 0 12px}
header p{margin:4px 0 16px;color:var(--soft)}
header .mark{display:inline-block;padding:4px 12px;border-radius:4px;background:#fff3cd;color:#664d03;font-weight:600}
section{background:#fff;border:1px solid var(--line);border-radius:8px;padding:16px;margin:16px 0;min-width:0}
.chart{width:100%;height:340px}.chart.drawdown{height:200px}.chart.correlation{height:620px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:12px;margin:0}
.cards div{background:#fff;border:1px solid var(--line);border-radius:8px;padding:10px 14px}
.cards dt{color:var(--soft);font-size:.8rem}.cards dd{margin:0;font-size:1.3rem;font-variant-numeric:tabular-nums}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(290px,1fr));gap:16px}.pair section{margin:0}
section dl{margin:0}section dt{color:var(--soft);font-size:.8rem}section dd{margin:0 0 8px;overflow-wrap:anywhere}
.scroll{overflow-x:auto;max-height:640px;overflow-y:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.88rem}
th,td{padding:5px 10px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}thead th{position:sticky;top:0;background:#fff;color:var(--soft);font-weight:600}
thead th{white-space:normal}
.chart.rolling{height:200px}
.verdict{border-left:6px solid #8a94a0}.verdict.good{border-left-color:#1a7f4b}.verdict.bad{border-left-color:#b3372f}
.verdict h2{font-size:1.25rem}.verdict.good h2{color:#1a7f4b}.verdict.bad h2{color:#b3372f}
.verdict ul{margin:12px 0 0;padding-left:20px;color:var(--soft)}.verdict .cards dd{font-size:1.05rem}
ul:has(.finding){list-style:none;margin:0;padding:0}
.finding{padding:6px 12px;margin:6px 0;border-left:4px solid #1a7f4b;background:#f2f8f4}
.finding.warn{border-left-color:#b7791f;background:#fdf6e7}.finding.error{border-left-color:#b3372f;background:#fbecea}
.finding code{font-size:.8rem;color:var(--soft);margin-right:8px}
details{margin:8px 0}summary{cursor:pointer;color:var(--accent);padding:4px 0}
.scroll+.scroll{margin-top:16px}
.heat td{text-align:center;padding:5px 6px}.heat th{text-align:center}
@media print{body{background:#fff}section{break-inside:avoid}.scroll{max-height:none}}
"""
