// The time series as one SVG: a row for each case, on the left the mean time of an answer, on the
// right the share that went remote, a line for each arm, and a dotted one for the target.
#include <algorithm>
#include <array>
#include <functional>

#include <fmt/format.h>

#include "simulate/report.h"

namespace sluice::simulate {
namespace {

constexpr double kPanelWidth = 420.0;
constexpr double kPanelHeight = 150.0;
constexpr double kMargin = 60.0;
constexpr double kHeadroom = 1.04;
constexpr std::array<std::string_view, kArms> kColours = {"#7f7f7f", "#d95f02", "#1b9e77",
                                                          "#2c5fb3", "#000000"};

struct Panel {
  double left = 0.0;
  double top = 0.0;
  std::string title;
  std::function<double(const Figures::Bucket&)> value;
  double target = 0.0;  // 0: none
};

// The oracle is drawn last and lets what it covers shine through.
std::string_view dashes(Arm arm) {
  return arm == Arm::kOracle ? " stroke-dasharray='6 4'" : "";
}

std::string panel_of(const Panel& panel, const std::vector<const Figures*>& figures) {
  double until_s = 1.0;
  double most = std::max(panel.target, 1e-9);
  for (const Figures* f : figures) {
    for (const Figures::Bucket& bucket : f->buckets) {
      until_s = std::max(until_s, bucket.from_s);
      most = std::max(most, panel.value(bucket));
    }
  }
  const auto height_of = [&](double value) {
    return panel.top + kPanelHeight * (1.0 - value / (kHeadroom * most));
  };
  std::string svg = fmt::format(
      "<rect x='{:.0f}' y='{:.0f}' width='{:.0f}' height='{:.0f}' fill='none' stroke='#ccc'/>\n"
      "<text x='{:.0f}' y='{:.0f}'>{}</text>\n"
      "<text x='{:.0f}' y='{:.0f}' text-anchor='end'>{:.3g}</text>\n"
      "<text x='{:.0f}' y='{:.0f}' text-anchor='end'>0</text>\n"
      "<text x='{:.0f}' y='{:.0f}' text-anchor='end'>{:.0f} s</text>\n",
      panel.left, panel.top, kPanelWidth, kPanelHeight, panel.left, panel.top - 6, panel.title,
      panel.left - 4, height_of(most) + 4, most, panel.left - 4, panel.top + kPanelHeight,
      panel.left + kPanelWidth, panel.top + kPanelHeight + 14, until_s);
  if (panel.target > 0.0)
    svg += fmt::format(
        "<line x1='{:.0f}' x2='{:.0f}' y1='{:.1f}' y2='{:.1f}' stroke='#c00' "
        "stroke-dasharray='1 3'/>\n",
        panel.left, panel.left + kPanelWidth, height_of(panel.target), height_of(panel.target));
  for (const Figures* f : figures) {
    std::string points;
    for (const Figures::Bucket& bucket : f->buckets)
      points += fmt::format("{:.1f},{:.1f} ", panel.left + bucket.from_s / until_s * kPanelWidth,
                            height_of(panel.value(bucket)));
    svg += fmt::format("<polyline points='{}' fill='none' stroke='{}' stroke-width='1.5'{}/>\n",
                       points, kColours[static_cast<size_t>(f->arm)], dashes(f->arm));
  }
  return svg;
}

}  // namespace

std::string to_svg(const Scenario& scenario, const std::vector<Figures>& figures) {
  const double row = kPanelHeight + kMargin;
  const double height = kMargin + row * static_cast<double>(scenario.cases.size());
  std::string svg = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' width='{:.0f}' height='{:.0f}' "
      "font-family='sans-serif' font-size='11'>\n<rect width='100%' height='100%' fill='white'/>\n",
      3 * kMargin + 2 * kPanelWidth, height);
  for (size_t i = 0; i < scenario.arms.size(); ++i)
    svg += fmt::format("<text x='{:.0f}' y='20' fill='{}'>{}</text>\n",
                       kMargin + 140.0 * static_cast<double>(i),
                       kColours[static_cast<size_t>(scenario.arms[i])], to_text(scenario.arms[i]));
  const auto& target = scenario.snapshot.models.front().defaults.target;
  const double target_s = target ? static_cast<double>(target->total.limit_ns) / 1e9 : 0.0;
  for (size_t i = 0; i < scenario.cases.size(); ++i) {
    const std::string& name = scenario.cases[i].name;
    std::vector<const Figures*> of_case;
    for (const Figures& f : figures)
      if (f.case_name == name) of_case.push_back(&f);
    const double top = kMargin + row * static_cast<double>(i);
    svg += panel_of({kMargin, top, name + ": mean time of an answer, s",
                     [](const Figures::Bucket& b) { return b.total_mean_s; }, target_s},
                    of_case);
    svg += panel_of({2 * kMargin + kPanelWidth, top, name + ": share that went remote",
                     [](const Figures::Bucket& b) { return b.remote_share; }, 0.0},
                    of_case);
  }
  return svg + "</svg>\n";
}

}  // namespace sluice::simulate
