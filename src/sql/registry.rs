//! What a query's names mean to the planner: the functions there are, the table it reads, and how
//! SQL types become Arrow types.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{
    DFSchema, DataFusionError, Result, ScalarValue, TableReference, plan_err,
};
use datafusion::execution::SessionStateDefaults;
use datafusion::functions_nested::expr_fn::array_element;
use datafusion::logical_expr::expr::TryCast;
use datafusion::logical_expr::logical_plan::builder::LogicalTableSource;
use datafusion::logical_expr::planner::{
    ContextProvider, ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr, TypePlanner,
};
use datafusion::logical_expr::{
    AggregateUDF, Expr, ExprSchemable, GetFieldAccess, HigherOrderUDF, ScalarUDF, TableSource,
    WindowUDF, lit, when,
};
use datafusion::sql::sqlparser::ast;

use super::functions;
use super::names::GENERATORS;
use super::spelling::SPELLINGS;

/// The type of every point in time: microseconds, UTC.
pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Every function a query can call, by its lower-case name.
pub(super) struct Functions {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    higher_order: HashMap<String, Arc<HigherOrderUDF>>,
    aggregate: HashMap<String, Arc<AggregateUDF>>,
    /// Of batch queries only: a stream has no rows before and after.
    window: HashMap<String, Arc<WindowUDF>>,
    names: BTreeSet<String>,
}

/// Functions of DataFusion that mean something else in Spark, or that a stream cannot have.
const WITHHELD: &[&str] =
    &["arrow_typeof", "arrow_cast", "arrow_metadata", "version", "generate_series"];

impl Functions {
    fn new() -> Self {
        let mut scalar = HashMap::new();
        // Later ones replace earlier ones: DataFusion's, then those written for Spark's
        // behaviour, then ours.
        let all = SessionStateDefaults::default_scalar_functions()
            .into_iter()
            .chain(datafusion_spark::all_default_scalar_functions())
            .chain(functions::all());
        for function in all {
            for name in std::iter::once(function.name())
                .chain(function.aliases().iter().map(String::as_str))
            {
                scalar.insert(name.to_lowercase(), Arc::clone(&function));
            }
        }
        for name in WITHHELD {
            scalar.remove(*name);
        }
        let mut aggregate = HashMap::new();
        let spark = datafusion_spark::all_default_aggregate_functions();
        let all = SessionStateDefaults::default_aggregate_functions().into_iter().chain(
            // Its `avg` and `try_sum` are DataFusion's with less type support.
            spark.into_iter().filter(|f| matches!(f.name(), "collect_list" | "collect_set")),
        );
        let all = all.chain(functions::extremes::aggregates());
        for function in all {
            for name in std::iter::once(function.name())
                .chain(function.aliases().iter().map(String::as_str))
            {
                aggregate.insert(name.to_lowercase(), Arc::clone(&function));
            }
        }
        let higher_order: HashMap<_, _> = SessionStateDefaults::default_higher_order_functions()
            .into_iter()
            .map(|function| (function.name().to_lowercase(), function))
            .collect();
        let names = scalar
            .keys()
            .chain(aggregate.keys())
            .chain(higher_order.keys())
            .cloned()
            .chain(SPELLINGS.iter().map(|name| (*name).to_owned()))
            .chain(GENERATORS.iter().map(|name| (*name).to_owned()))
            .collect();
        let window = SessionStateDefaults::default_window_functions()
            .into_iter()
            .flat_map(|function| {
                let names: Vec<String> = std::iter::once(function.name())
                    .chain(function.aliases().iter().map(String::as_str))
                    .map(str::to_lowercase)
                    .collect();
                names.into_iter().map(move |name| (name, Arc::clone(&function)))
            })
            .collect();
        Self { scalar, higher_order, aggregate, window, names }
    }

    /// The functions, built once.
    pub(super) fn get() -> &'static Self {
        static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);
        &FUNCTIONS
    }

    /// Whether a function (lower case) can be called.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// All names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.names.iter().map(String::as_str)
    }

    /// Whether it needs OVER.
    pub(super) fn is_window(&self, name: &str) -> bool {
        self.window.contains_key(name)
    }

    /// The names of those that need OVER.
    pub(super) fn window_names(&self) -> impl Iterator<Item = &str> {
        self.window.keys().map(String::as_str)
    }

    pub(super) fn is_aggregate(&self, name: &str) -> bool {
        self.aggregate.contains_key(name)
    }

    pub(super) fn scalar(&self, name: &str) -> Result<Arc<ScalarUDF>> {
        self.scalar
            .get(name)
            .cloned()
            .ok_or_else(|| DataFusionError::Internal(format!("function {name} is not registered")))
    }
}

/// One query's view of the world, as DataFusion's planner asks for it.
pub(super) struct Context {
    tables: HashMap<String, Arc<dyn TableSource>>,
    functions: &'static Functions,
    options: Arc<ConfigOptions>,
    expr_planners: Vec<Arc<dyn ExprPlanner>>,
    type_planner: Arc<dyn TypePlanner>,
}

/// The options that every query is planned with.
pub(super) fn options() -> ConfigOptions {
    let mut options = ConfigOptions::default();
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.time_zone = Some("UTC".into());
    // NULLs come first in ascending order, as in Spark.
    options.sql_parser.default_null_ordering = "nulls_min".to_owned();
    options
}

impl Context {
    /// Over these tables, by the names that the resolved query has for them.
    pub(super) fn new(tables: &[(String, SchemaRef)]) -> Self {
        let sources = tables.iter().map(|(name, schema)| {
            let source: Arc<dyn TableSource> =
                Arc::new(LogicalTableSource::new(Arc::clone(schema)));
            (name.clone(), source)
        });
        Self::over(sources.collect())
    }

    /// Over tables that can be read.
    pub(super) fn over(tables: HashMap<String, Arc<dyn TableSource>>) -> Self {
        let mut expr_planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(SparkOperators)];
        expr_planners.extend(SessionStateDefaults::default_expr_planners());
        Self {
            tables,
            functions: Functions::get(),
            options: Arc::new(options()),
            expr_planners,
            type_planner: Arc::new(SparkTypes),
        }
    }

    pub(super) fn shared_options(&self) -> Arc<ConfigOptions> {
        Arc::clone(&self.options)
    }
}

impl ContextProvider for Context {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.tables.get(name.table()) {
            Some(source) => Ok(Arc::clone(source)),
            None => plan_err!("unknown source '{name}'"),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expr_planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::clone(&self.type_planner))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.scalar.get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.functions.higher_order.get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregate.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.functions.window.get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.scalar.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.functions.higher_order.keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.functions.aggregate.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        vec![]
    }
}

/// Operators that mean something else in Spark: `array[i]` counts from 0 and gives NULL outside
/// the array, and text in arithmetic is read as DOUBLE.
#[derive(Debug)]
struct SparkOperators;

impl ExprPlanner for SparkOperators {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        use ast::BinaryOperator::{Divide, Minus, Modulo, Multiply, Plus};
        let RawBinaryExpr { op, left, right } = raw;
        if !matches!(op, Plus | Minus | Multiply | Divide | Modulo) {
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
        }
        let (left_type, right_type) = (left.get_type(schema)?, right.get_type(schema)?);
        let number = |data_type: &DataType| data_type.is_numeric() || data_type.is_string();
        let as_double = |expr: Expr, data_type: &DataType| match data_type {
            text if text.is_string() => {
                Expr::TryCast(TryCast::new(Box::new(expr), DataType::Float64))
            }
            _ => expr,
        };
        let (left, right) = if number(&left_type) && number(&right_type) {
            (as_double(left, &left_type), as_double(right, &right_type))
        } else {
            (left, right)
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }

    fn plan_field_access(
        &self,
        raw: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let RawFieldAccessExpr { field_access, expr } = raw;
        match field_access {
            GetFieldAccess::ListIndex { key } if is_list(&expr.get_type(schema)?) => {
                let index = match key.as_ref() {
                    Expr::Literal(ScalarValue::Int64(Some(index)), _) => {
                        let one_based = index.checked_add(1).filter(|index| *index > 0);
                        Expr::Literal(ScalarValue::Int64(one_based), None)
                    }
                    _ => when(key.as_ref().clone().gt_eq(lit(0_i64)), *key + lit(1_i64)).end()?,
                };
                Ok(PlannerResult::Planned(array_element(expr, index)))
            }
            field_access => Ok(PlannerResult::Original(RawFieldAccessExpr { field_access, expr })),
        }
    }
}

fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _))
}

/// Spark's type names.
#[derive(Debug)]
struct SparkTypes;

impl TypePlanner for SparkTypes {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        Ok(arrow_type(sql_type)?.map(|data_type| Arc::new(Field::new("", data_type, true))))
    }
}

/// The Arrow type of a SQL type as Spark understands it. `None`: DataFusion's own reading will do.
fn arrow_type(sql_type: &ast::DataType) -> Result<Option<DataType>> {
    use ast::DataType as Sql;
    Ok(Some(match sql_type {
        Sql::Boolean | Sql::Bool => DataType::Boolean,
        Sql::TinyInt(_) => DataType::Int8,
        Sql::SmallInt(_) => DataType::Int16,
        Sql::Int(_) | Sql::Integer(_) => DataType::Int32,
        Sql::BigInt(_) => DataType::Int64,
        Sql::Float(_) | Sql::Real => DataType::Float32,
        Sql::Double(_) | Sql::DoublePrecision => DataType::Float64,
        Sql::Decimal(info) | Sql::Dec(info) | Sql::Numeric(info) => decimal_type(info)?,
        Sql::String(_) | Sql::Varchar(_) | Sql::Char(_) | Sql::Text => DataType::Utf8,
        Sql::Binary(_) | Sql::Varbinary(_) => DataType::Binary,
        Sql::Date => DataType::Date32,
        Sql::Timestamp(_, ast::TimezoneInfo::None | ast::TimezoneInfo::Tz) => timestamp_type(),
        Sql::TimestampNtz(_) => {
            return plan_err!(
                "TIMESTAMP_NTZ is not supported: event time needs a point in time; use TIMESTAMP"
            );
        }
        Sql::Array(ast::ArrayElemTypeDef::AngleBracket(item)) => {
            let item = arrow_type(item)?;
            match item {
                Some(item) => DataType::List(Arc::new(Field::new_list_field(item, true))),
                None => return Ok(None),
            }
        }
        Sql::Struct(fields, _) => {
            let mut arrow_fields = Vec::with_capacity(fields.len());
            for (index, field) in fields.iter().enumerate() {
                let Some(data_type) = arrow_type(&field.field_type)? else { return Ok(None) };
                let name = match &field.field_name {
                    Some(name) => name.value.clone(),
                    None => format!("c{index}"),
                };
                arrow_fields.push(Field::new(name, data_type, true));
            }
            DataType::Struct(Fields::from(arrow_fields))
        }
        Sql::Custom(name, modifiers) if modifiers.is_empty() => {
            match name.to_string().to_ascii_uppercase().as_str() {
                "BYTE" => DataType::Int8,
                "SHORT" => DataType::Int16,
                "LONG" => DataType::Int64,
                _ => return Ok(None),
            }
        }
        _ => return Ok(None),
    }))
}

fn decimal_type(info: &ast::ExactNumberInfo) -> Result<DataType> {
    // Spark's default.
    let (precision, scale) = match info {
        ast::ExactNumberInfo::None => (10, 0),
        ast::ExactNumberInfo::Precision(precision) => (*precision, 0),
        ast::ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    let valid =
        u8::try_from(precision).ok().zip(i8::try_from(scale).ok()).filter(|(precision, scale)| {
            (1..=38).contains(precision)
                && *scale >= 0
                && i16::from(*scale) <= i16::from(*precision)
        });
    match valid {
        Some((precision, scale)) => Ok(DataType::Decimal128(precision, scale)),
        None => plan_err!(
            "DECIMAL({precision},{scale}) is not a type: precision is 1 to 38, scale 0 to precision"
        ),
    }
}
