// SPDX-License-Identifier: Apache-2.0
// A small picture of curves as an SVG file.
#pragma once

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

struct Curve {
  std::string name, color;
  std::vector<double> x, y;
};

/// Curves over a grid of `rows` lines of the y axis, from `bottom` to `top`. False if the file cannot be written.
inline bool write_curves(const std::string& path, const std::string& title, const std::vector<Curve>& curves,
                         double bottom, double top, int rows) {
  constexpr double width = 640, height = 360, left = 48, right = 16, above = 36, below = 32;
  double last = 1;
  for (const Curve& curve : curves)
    for (const double x : curve.x) last = std::max(last, x);
  const auto across = [&](double x) { return left + (width - left - right) * x / last; };
  const auto down = [&](double y) {
    return above + (height - above - below) * std::clamp((top - y) / (top - bottom), 0.0, 1.0);
  };
  std::ofstream file(path);
  file.precision(4);
  file << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << width << ' ' << height
       << "\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
       << "<text x=\"" << left << "\" y=\"20\">" << title << "</text>\n";
  for (int row = 0; row <= rows; ++row) {
    const double y = bottom + (top - bottom) * row / rows;
    file << "<path d=\"M" << left << ' ' << down(y) << 'H' << width - right << "\" stroke=\"#ddd\"/><text x=\""
         << left - 6 << "\" y=\"" << down(y) + 4 << "\" text-anchor=\"end\">" << y << "</text>\n";
  }
  file << "<text x=\"" << left << "\" y=\"" << height - 10 << "\">0</text><text x=\"" << width - right << "\" y=\""
       << height - 10 << "\" text-anchor=\"end\">" << last << " steps</text>\n";
  double key = width - right;
  for (const Curve& curve : curves) {
    file << "<polyline fill=\"none\" stroke-width=\"1.5\" stroke=\"" << curve.color << "\" points=\"";
    for (std::size_t i = 0; i < curve.x.size(); ++i) file << across(curve.x[i]) << ',' << down(curve.y[i]) << ' ';
    file << "\"/>\n<text x=\"" << key << "\" y=\"20\" text-anchor=\"end\" fill=\"" << curve.color << "\">" << curve.name
         << "</text>\n";
    key -= 90;
  }
  file << "</svg>\n";
  return bool(file.flush());
}
